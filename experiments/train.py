"""Train many 1010-GANs and say how often the generator converges to 1010."""

from gan1010_jax.cli import main

if __name__ == "__main__":
    main("train")
