"""The commands of `retro-dash`, one verb a file, each with `add_arguments(parser)` and `run(arguments, settings)`."""
