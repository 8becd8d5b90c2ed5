// Which panel draws which environment's view. A panel is one file with `draw(element, view, context)`.

import * as generic from "./generic.js";

const PANELS = {
  alfworld: () => import("./alfworld.js"),
  hotpotqa: () => import("./hotpotqa.js"),
  intercode_sql: () => import("./intercode_sql.js"),
  intercode_bash: () => import("./intercode_bash.js"),
};

/** The panel of an environment; one that is unknown is drawn as it is. */
export async function panelOf(env) {
  return Object.hasOwn(PANELS, env) ? PANELS[env]() : generic;
}

/** Draw with the panel, or as plain JSON when the view is not what the panel knows. */
export function drawWorld(panel, element, view, context) {
  try {
    panel.draw(element, view, context);
  } catch (error) {
    console.warn(`World panel: ${error.message}`);
    generic.draw(element, view, context);
  }
}
