"""Reads a folder of event files with the tensorboard package and prints what its pages would show, as JSON."""

import json
import sys

from tensorboard.backend.event_processing import event_accumulator
from tensorboard.plugins.hparams import metadata as hparams_metadata, plugin_data_pb2
from tensorboard.util import tensor_util

accumulator = event_accumulator.EventAccumulator(sys.argv[1], size_guidance={event_accumulator.SCALARS: 0, event_accumulator.TENSORS: 0})
accumulator.Reload()
tags = accumulator.Tags()
out = {"scalars": {}, "text": {}, "hparams": {}, "status": None}
# Old-style scalars become tensors of the scalars plugin when the package's data compatibility is at work.
for tag in tags["scalars"]:
    out["scalars"][tag] = [[e.step, e.value, e.wall_time] for e in accumulator.Scalars(tag)]
for tag in tags["tensors"]:
    plugin = accumulator.SummaryMetadata(tag).plugin_data
    if plugin.plugin_name == "text":
        out["text"][tag] = [
            [e.step, [s.decode() for s in tensor_util.make_ndarray(e.tensor_proto).reshape(-1)]] for e in accumulator.Tensors(tag)
        ]
    elif plugin.plugin_name == "hparams":
        data = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
        if tag == hparams_metadata.SESSION_START_INFO_TAG:
            for name, value in data.session_start_info.hparams.items():
                out["hparams"][name] = getattr(value, value.WhichOneof("kind"))
        if tag == hparams_metadata.SESSION_END_INFO_TAG:
            out["status"] = data.session_end_info.status
print(json.dumps(out))
