"""The commands of `retro-dash`, one verb a file: `add_arguments(parser)` and `run(arguments, settings) -> exit code`."""
