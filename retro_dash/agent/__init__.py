"""The agent: prompts, policies and the loop of trials and reflections."""
