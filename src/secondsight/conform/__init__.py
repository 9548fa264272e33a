"""The kernel's own C in user space, driven in step with the model: every step and every state compared."""
