"""Charts of several curves, as TensorBoard's tab "custom scalars" has them."""

import time

from etils import epath
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from hue_jax.files import replacing

# Title of a chart → what its curves are called, as regular expressions.
CHARTS = {
  "loss": (r"(train|validation|test)/loss$",),
  "loss by term, without λ": (r"train/cross_entropy$", r"train/(hue|term)/.*"),
  "λ by term": (r"train/weight/.*",),
  "hue error, degrees": (r"(train|validation|test)/hue_error_degrees/.*",),
  "top-1": (r"(train|validation|test)/top1$",),
}

# TensorBoard's own names for where it looks for the layout.
_TAG, _PLUGIN = "custom_scalars__config__", "custom_scalars"

# In place of the time, so that its name is before those of all files with numbers:
# TensorBoard reads file after file, and follows the last one alone.
_FILE = "events.out.tfevents.0000000000.charts"


def write_charts(logdir: str) -> None:
  """Writes which curves TensorBoard shows in one chart, if that is not written yet.

  Args:
    logdir: The folder of TensorBoard's files; it gets one of a few hundred bytes.
  """
  path = epath.Path(logdir) / _FILE
  if path.exists():
    return
  layout = layout_pb2.Layout(
    category=[
      layout_pb2.Category(
        title="run",
        chart=[
          layout_pb2.Chart(
            title=title, multiline=layout_pb2.MultilineChartContent(tag=tags)
          )
          for title, tags in CHARTS.items()
        ],
      )
    ]
  )
  plugin = summary_pb2.SummaryMetadata.PluginData(plugin_name=_PLUGIN)
  value = summary_pb2.Summary.Value(
    tag=_TAG,
    metadata=summary_pb2.SummaryMetadata(plugin_data=plugin),
    tensor=tensor_util.make_tensor_proto(layout.SerializeToString()),
  )
  now = time.time()
  events = (
    event_pb2.Event(wall_time=now, file_version="brain.Event:2"),
    event_pb2.Event(wall_time=now, summary=summary_pb2.Summary(value=[value])),
  )
  path.parent.mkdir(parents=True, exist_ok=True)
  with replacing(path) as file:
    writer = RecordWriter(file)
    for event in events:
      writer.write(event.SerializeToString())
