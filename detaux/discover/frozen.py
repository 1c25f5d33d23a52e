"""Compute features of images by a pretrained network that is not trained further.

N images, n of a batch, C channels, S side in pixels, F features.
"""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from detaux.backbones import build_backbone
from detaux.backbones.pretrained import load_pretrained
from detaux.config import Config
from detaux.config.schema import FROZEN, PACKAGE
from detaux.data.draws import draw_picture_noise
from detaux.data.prepare import fit_batch, prepare_images
from detaux.runtime.progress import track

BATCH = 512  # images at most
LEAST_SIDE = 96  # pixels; smaller pictures are enlarged, since the network halves them five times


@torch.no_grad()
def compute_features(images_NHWC: Tensor, config: Config) -> Tensor:
    """Return the features float32 [N, F] of images uint8 [N, S, S, C] by EfficientNet-Lite0, on the images' device.

    The weights are those of the package of the extra `efficientnet`. The network sees what the disentangler saw: noise,
    and its removal, are those of the config. Torch's global random state stays as it was.
    """
    device, data, side = images_NHWC.device, config.data, max(images_NHWC.shape[1], LEAST_SIDE)
    with torch.random.fork_rng(devices=[]):  # for initial weights, which the file replaces
        network = build_backbone(FROZEN, side)
    load_pretrained(network, FROZEN, PACKAGE, "discover.features")
    network = network.to(device).eval()
    draw_noise = draw_picture_noise(images_NHWC.shape, config.run.seed)
    size, parts = fit_batch(BATCH, torch.Size((len(images_NHWC), side, side, 3))), []
    with track("discover: frozen features", len(images_NHWC)) as advance:
        for begin in range(0, len(images_NHWC), size):
            rows = range(begin, min(begin + size, len(images_NHWC)))
            images_nCSS = prepare_images(
                images_NHWC[rows.start : rows.stop],
                device,
                noise=data.noise,
                draw=partial(draw_noise, rows),
                denoise=data.denoise,
            )
            if side > images_nCSS.shape[2]:
                images_nCSS = functional.interpolate(images_nCSS, (side, side), mode="bilinear", antialias=True)
            parts.append(network(images_nCSS.expand(-1, 3, -1, -1)))
            advance(len(rows))
    return torch.cat(parts)
