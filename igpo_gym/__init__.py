"""Search question answering as Gymnasium environments that pay information gain."""
