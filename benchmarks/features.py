"""Features of a folder of pictures, reading included, beside torchvision with its usual loader, the same weights.

    ./run peers
    python benchmarks/features.py FOLDER --peer .venv-peers/bin/python [--rounds 5]

torchvision: ImageFolder, Resize 256, CenterCrop 224, batches of 16, two loading processes that stay between the rounds,
eager. Ours: `studies.features.extract`, nothing kept, every stage and not the top alone. Each side is a process of its
own, and they take turns. FOLDER holds class folders.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NETS = ("resnet50", "mobilenet_v2")
BATCH, WORKERS = 16, 2


def ours(folder: str, weights: str) -> Callable[[], Any]:
    from videre import data as datasets
    from videre.engine.allocator import keep_memory
    from videre.studies.features import TOP, FeatureNet, extract

    keep_memory()
    net, data = FeatureNet.of(weights), datasets.read(folder)
    return lambda: extract(net, data, keep=False)[TOP]


def theirs(folder: str, weights: str) -> Callable[[], Any]:
    import torch
    import torchvision
    from safetensors.torch import load_file
    from torchvision import transforms

    name = Path(weights).stem
    net = getattr(torchvision.models, name)(weights=None).eval()
    net.load_state_dict(load_file(weights), strict=False)
    setattr(net, "fc" if name == "resnet50" else "classifier", torch.nn.Identity())
    prepare = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    data = torchvision.datasets.ImageFolder(folder, prepare)
    loader = torch.utils.data.DataLoader(data, BATCH, num_workers=WORKERS, persistent_workers=True)

    def run() -> Any:
        with torch.inference_mode():
            return torch.cat([net(pictures) for pictures, _ in loader]).numpy()

    return run


def draw(name: str, path: Path) -> None:
    """Weights at random, under torchvision's names, whose activations stay of one size."""
    import torch
    from safetensors.torch import save_file

    from videre.backbones import make_backbone

    torch.manual_seed(0)
    net = make_backbone(name, vector=True, norm="batch")
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, path)


def serve(side: str, folder: str, weights: str) -> None:
    """One round for every line on stdin."""
    run = {"torchvision": theirs, "videre": ours}[side](folder, weights)
    for _ in sys.stdin:
        began, cpu = time.perf_counter(), time.process_time()
        found = run()
        seconds = time.perf_counter() - began
        print(
            json.dumps(
                {
                    "seconds": seconds,
                    "cpu": time.process_time() - cpu,
                    "pictures": len(found),
                    "mean": found.mean(1).tolist(),
                }
            ),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("weights", nargs="?")
    parser.add_argument("--peer", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve")
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.folder, args.weights)

    from videre.engine.device import describe_processor

    print(describe_processor())
    with tempfile.TemporaryDirectory() as scratch:
        for name in NETS:
            weights = Path(scratch) / f"{name}.safetensors"
            draw(name, weights)
            sides = {
                side: subprocess.Popen(
                    [python, __file__, args.folder, str(weights), "--serve", side],
                    text=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
                for side, python in (("torchvision", args.peer), ("videre", sys.executable))
            }
            runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
            for _ in range(args.rounds + 1):  # the first compiles and starts the loaders
                for side, process in sides.items():
                    print(file=process.stdin, flush=True)
                    runs[side].append(json.loads(process.stdout.readline()))  # type: ignore[union-attr]
            for process in sides.values():
                process.stdin.close()  # type: ignore[union-attr]
                process.wait()
            seconds = {side: statistics.median(r["seconds"] for r in rows[1:]) for side, rows in runs.items()}
            a, b = (rows[-1]["mean"] for rows in runs.values())
            off = max(abs(x - y) for x, y in zip(a, b)) / max(map(abs, a))
            for side, taken in seconds.items():
                count = runs[side][0]["pictures"]
                print(
                    f"{name:13} {side:12} {taken:6.2f} s  {count / taken:6.1f} pictures/s  "
                    f"x{seconds['torchvision'] / taken:.2f}"
                )
            print(
                f"{'':13} mean of a picture's features within {off:.1%} (pictures are resized by other filters, bf16)"
            )


if __name__ == "__main__":
    main()
