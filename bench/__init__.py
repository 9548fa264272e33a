"""The yardstick: the mirror protocol on our executors, Spin and Rumur, side by side; see bench/README.md."""
