"""The one kind of error that a user's input causes."""


class InputError(ValueError):
  """A setting, file or record that hue_jax cannot use.

  The message is one line that names the thing, the value it has and what is
  accepted. `main.py` and the command-line modules print it without a traceback.
  """
