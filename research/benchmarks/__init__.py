"""Commands that write the figures of docs/."""
