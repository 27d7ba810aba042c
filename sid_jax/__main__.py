"""`python -m sid_jax` is the command `sid-jax`."""

from sid_jax.cli import main

if __name__ == "__main__":
    main()
