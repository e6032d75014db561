"""Charts of several curves, as TensorBoard's tab "custom scalars" has them."""

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

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


def write_charts(logdir: str) -> None:
  """Writes which curves TensorBoard shows in one chart; a file of a few hundred bytes.

  Args:
    logdir: The folder of TensorBoard's files.
  """
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
  writer = EventFileWriter(logdir, filename_suffix=".charts")
  writer.add_event(event_pb2.Event(summary=summary_pb2.Summary(value=[value])))
  writer.close()
