"""Whole phases as CUDA graphs: the same function, captured once for every shape and replayed without the cost
of launching its kernels. Elsewhere the function is simply called.
"""

import os
import sys

import torch

SWITCH = "EPLIB_CUDA_GRAPHS"  # set to 0 to call every function as it is
WARM_UP = 3  # calls before a capture, as the capture must not meet first-time initialisation


class Captured:
    """A function of tensors that returns tensors (one, a tuple or a dict), captured on CUDA.

    The function may read other tensors (a network's parameters) as long as they stay where they are; it must
    not copy to or from the host. What it returns is overwritten by its next call with the same shapes. A
    function that cannot be captured is called as it is from then on, and the reason is printed once.
    """

    def __init__(self, function):
        self.function, self.graphs, self.refused = function, {}, os.environ.get(SWITCH) == "0"

    def __call__(self, *tensors):
        if self.refused or not tensors[0].is_cuda:
            return self.function(*tensors)
        key = tuple((t.shape, t.dtype, t.stride()) for t in tensors)
        if key not in self.graphs:
            try:
                self.graphs[key] = self._capture(tensors)
            except RuntimeError as error:
                self.refused = True
                print(f"no CUDA graph, kernels are launched one by one: {error}", file=sys.stderr)
                return self.function(*tensors)
        graph, inputs, outputs = self.graphs[key]
        for place, tensor in zip(inputs, tensors, strict=True):
            place.copy_(tensor)
        graph.replay()
        return outputs

    def _capture(self, tensors):
        inputs = [t.clone() for t in tensors]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.function(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self.function(*inputs)
        return graph, inputs, outputs
