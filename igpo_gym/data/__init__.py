"""Questions: loaders of public formats, the generated world, and answer metrics."""
