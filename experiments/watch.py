"""Watch one GAN learn: a page for the browser that replays its training, step by step."""

from gan1010_jax.cli import main

if __name__ == "__main__":
    main("watch")
