"""Where does a method converge? A grid over one or two hyperparameters, every cell many seeds."""

from gan1010_jax.cli import main

if __name__ == "__main__":
    main("sweep")
