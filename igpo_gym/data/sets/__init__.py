"""The public sets of questions, a file each: what a record of theirs looks like, and what it means."""
