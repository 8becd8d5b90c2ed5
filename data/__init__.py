"""What goes in and out: the nouns, the events, the store, file formats and the bundled tasks."""
