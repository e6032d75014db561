"""Classes of pictures by a trained network: `python -m hue_jax.predict`."""
