"""The environment inside other people's libraries: one thin module a library, imported by its own name."""
