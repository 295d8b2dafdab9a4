"""Running a language model: loading, chat rendering, prefix cache, attention, decoding, HTTP transport."""
