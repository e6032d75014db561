import numpy as np
import pytest
import tensorflow as tf

from hue_jax.philox import philox4x32, uniforms


# The known answers of the Random123 library's own tests.
@pytest.mark.parametrize(
  ("counter", "key", "expected"),
  [
    ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ([2**32 - 1] * 4, [2**32 - 1] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
      [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
      [0xA4093822, 0x299F31D0],
      "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
  ],
)
def test_known_answers(counter, key, expected):
  words = philox4x32([np.array([word], np.uint64) for word in counter], key)
  assert " ".join(f"{int(word[0]):08x}" for word in words) == expected


def test_equals_tensorflow():
  seed, position = 2**63 + 12345, 2**40 + 77
  bits = [
    tf.raw_ops.StatelessRandomUniformFullIntV2(
      shape=[4],
      key=tf.constant([seed], tf.uint64),
      counter=tf.constant([position, block], tf.uint64),
      alg=1,
      dtype=tf.uint32,
    ).numpy()
    for block in range(3)
  ]
  expected = np.concatenate(bits)[:11] // 256 / 2**24
  found = uniforms(seed, np.array([3, position]), 11)
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found[1], expected)


def test_a_position_does_not_depend_on_its_neighbors():
  together = uniforms(7, np.arange(1000), 5)
  np.testing.assert_array_equal(
    uniforms(7, np.array([999, 4]), 3), together[[999, 4], :3]
  )


def test_uniform_and_uncorrelated():
  drawn = uniforms(0, np.arange(20_000), 8)
  assert drawn.min() >= 0
  assert drawn.max() < 1
  # Within five standard errors of what uniform numbers have.
  np.testing.assert_allclose(drawn.mean(0), 0.5, atol=5 * 0.289 / 20_000**0.5)
  np.testing.assert_allclose(drawn.var(0), 1 / 12, atol=5 * 0.0745 / 20_000**0.5)
  correlation = np.corrcoef(np.concatenate([drawn[:-1], drawn[1:]], axis=1).T)
  assert np.abs(correlation - np.eye(16)).max() < 5 / 20_000**0.5
