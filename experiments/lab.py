"""The laboratory: a page on which 64 GANs train live in the browser."""

from gan1010_jax.cli import main

if __name__ == "__main__":
    main("lab")
