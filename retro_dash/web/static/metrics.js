// What metric names mean: which belong into one chart, and how they look. No page here.

const TERMS = { il: "il_loss", rl: "rl_loss", kl: "kl_loss" };

/** Charts in the order in which they matter; `match` takes a metric's name without the prefix of an iteration. */
export const CHARTS = [
  { key: "solved", title: "Solved so far", match: /\/solved$/, share: true },
  { key: "planner_loss", title: "Planner · loss terms", match: /^planner\/(il|rl|kl)_loss$/ },
  { key: "reflector_loss", title: "Reflector · loss terms", match: /^reflector\/(sft\/)?(il|rl|kl)_loss$/ },
  { key: "ratio", title: "Importance ratio and clipped share", match: /\/(ratio_mean|clip_high|clip_low)$/ },
  { key: "gradient", title: "Gradient norms", match: /\/((rl_|il_)?gradient_norm)$/ },
  { key: "throughput", title: "Tokens per second", match: /\/tokens_per_second$/ },
  { key: "entropy", title: "Entropy of the policy (nats)", match: /\/entropy$/ },
  { key: "kl", title: "KL to the behaviour policy (nats)", match: /\/(kl_behaviour|step0_abs_log_ratio)$/ },
  { key: "reward", title: "Reward", match: /\/(reward\/mean|ppo_reward|rewards?)$/ },
  { key: "sample_size", title: "Effective sample size", match: /\/effective_sample_size$/ },
  { key: "system", title: "Load of the machine", match: /\/system\/\w+_share$/, share: true },
  { key: "learning_rate", title: "Learning rate", match: /\/learning_rate$/ },
];

const FIRST = {
  sft: ["planner_loss", "reflector_loss", "gradient", "throughput"],
  play: ["solved"],
  rl: ["solved", "planner_loss", "reflector_loss", "ratio", "gradient", "entropy"],
};

/** "iteration2/planner/rl_loss" → ["iteration 2", "planner/rl_loss"]. */
export function split(name) {
  const [, iteration, rest] = /^iteration(\d+)\/(.*)$/.exec(name) ?? [];
  return iteration ? [`iteration ${iteration}`, rest] : ["", name];
}

export const matches = (chart, name) => (chart.names ? chart.names.includes(name) : chart.match.test(split(name)[1]));

/** The four charts that matter for a run, of those that it has numbers for. */
export function firstCharts(run, names) {
  const method = run.kind === "train" ? run.config.train?.method : null;
  const order = run.kind !== "train" ? FIRST.play : ["sft", "expert_iteration"].includes(method) ? FIRST.sft : FIRST.rl;
  const filled = order.filter((key) => names.some((name) => matches(CHARTS.find((chart) => chart.key === key), name)));
  return filled.slice(0, 4);
}

/** Every chart that these names can fill, groups first, then single metrics. */
export function allCharts(names) {
  const groups = CHARTS.filter((chart) => names.some((name) => matches(chart, name)));
  const rest = names.filter((name) => !groups.some((chart) => matches(chart, name)));
  return [...groups, ...rest.map((name) => ({ key: name, title: name, names: [name] }))];
}

/** How a curve is drawn: hue by term, dash by role. */
export function style(name) {
  const [iteration, rest] = split(name);
  const role = rest.split("/")[0];
  const term = Object.keys(TERMS).find((key) => rest.endsWith(TERMS[key]) || rest.includes(`/${key}_`));
  const last = rest.split("/").at(-1).replaceAll("_", " ");
  const words = { il: "IL (imitation)", rl: "RL (policy gradient)", kl: "KL" };
  const load = { cpu_share: "planner", memory_share: "reflector", gpu_share: "expert", gpu_memory_share: "human" }[rest.split("/").at(-1)];
  const hue = term ?? load ?? (rest.endsWith("clip_low") ? "failure" : rest.endsWith("clip_high") ? "human" : rest.endsWith("solved") ? "success" : role === "reflector" ? "reflector" : "planner");
  return { hue, dash: role === "reflector" ? "dash" : "solid", label: [iteration, rest.endsWith("_loss") ? words[term] : `${role} ${last}`].filter(Boolean).join(" · ") };
}

/** Exponential moving average without a pull towards the start. */
export function smooth(values, weight) {
  if (!weight) return values;
  let sum = 0;
  let scale = 0;
  return values.map((value) => {
    if (!Number.isFinite(value)) return value;
    sum = sum * weight + value * (1 - weight);
    scale = scale * weight + (1 - weight);
    return sum / scale;
  });
}

export function round(value) {
  if (!Number.isFinite(value)) return "not a number";
  const size = Math.abs(value);
  return size && (size < 0.001 || size >= 1e6) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 360) / 10} h`;
}

export function bytes(count) {
  return count === null || count === undefined ? "not known" : count < 2 ** 30 ? `${Math.round(count / 2 ** 20)} MiB` : `${(count / 2 ** 30).toFixed(1)} GiB`;
}
