"""A row for each backbone: parameters, products, pictures a second, memory. `python benchmarks/backbones.py [NAME...]`.

As a classifier of 1,000 classes on pictures of its own size, weights at random, the engine as `videre predict` has it;
each in a process of its own. Memory is the peak above what the imports take, weights included.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from torch import nn

from videre.backbones import FAMILIES
from videre.engine.allocator import keep_memory
from videre.engine.device import describe_processor
from videre.images.prepare import prepare
from videre.models.classify.classifier import Classifier
from videre.predict import Predictor
from videre.structures import Categories, ImageBatch, Preprocess, Schema
from videre.studies.speed.sides import memory

NATIVE = {"inception_v3": 299, "inception_resnet_v2": 299}
PUBLISHED = {"inception_v3": {"padding": "valid"}, "inception_resnet_v2": {"padding": "valid"}}
BATCH, SECONDS = 16, 4.0


def measure(name: str) -> dict[str, float]:
    """The numbers of one backbone."""
    keep_memory()
    before = memory("VmRSS")
    plain = {"norm": "none"} if name == "alexnet" or (name.startswith("vgg") and "bn" not in name) else {}
    side = NATIVE.get(name, 224)
    schema = Schema(pictures=Categories.of([f"class {i}" for i in range(1000)]))
    preprocess = Preprocess(short_side=None, long_side=None, divisor=1)
    model = Classifier(schema, preprocess, backbone=name, **plain, **PUBLISHED.get(name, {})).eval()
    products = 0

    def count(module: nn.Module, given: tuple[torch.Tensor], found: torch.Tensor) -> None:
        nonlocal products
        products += found.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    one = prepare(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8), preprocess)
    with torch.inference_mode():
        model(one)
    for hook in hooks:
        hook.remove()
    # frozen norms hold their numbers in buffers; published counts have them as parameters
    affine = sum(
        b.numel() for n, b in model.named_buffers() if n.endswith((".weight", ".bias")) and n.startswith("backbone")
    )
    row = {"parameters": sum(p.numel() for p in model.parameters()) + affine, "products": products}
    predictor = Predictor(model)
    for batch in (1, BATCH):
        pictures, times, stop = ImageBatch.cat([one] * batch), [], None
        while stop is None or time.perf_counter() < stop or len(times) < 3:
            begin = time.perf_counter()
            predictor.run(pictures)
            if stop is None:  # the first one finds the plan
                stop = time.perf_counter() + SECONDS
            else:
                times.append(time.perf_counter() - begin)
        row[f"rate {batch}"] = batch / statistics.median(times)
    return row | {"memory": memory("VmHWM") - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(FAMILIES))
    parser.add_argument("--one", action="store_true", help="measure in this process and print JSON")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.names[0])))
        return
    print(
        describe_processor(),
        f"\n\n| backbone | million parameters | million products | pictures/s | of {BATCH} at once | MiB |",
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in args.names or FAMILIES:
        done = subprocess.run([sys.executable, __file__, name, "--one"], capture_output=True, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {name} | {row['parameters'] / 1e6:.2f} | {row['products'] / 1e6:,.0f} | {row['rate 1']:.1f} | "
            f"{row[f'rate {BATCH}']:.1f} | {row['memory'] / 2**20:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
