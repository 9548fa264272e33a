"""The kernel files that are run beside their models."""
