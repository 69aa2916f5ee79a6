"""Record the results of the authors' code, in the environment that ``__main__`` builds.

It imports only ``subjects`` and its neighbours from the project, because other modules need
packages that this environment lacks.
"""

import io
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import clip
import ImageReward
import numpy as np
import torch
from hpsv2.src import open_clip
from ImageReward.models.BLIP.vit import VisionTransformer
from PIL import Image
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
)

from tests.models.rewards.reference.subjects import (
    BLIP_SIZES,
    CLIP_TEXT,
    CLIP_VISION,
    LARGE,
    ODD,
    PROMPTS,
    SQUARE,
    images,
    weight,
)
from tests.models.rewards.reference.token_ids import bert_tokens, clip_tokenizer, clip_tokens

PACKAGES = ("clip-anytorch", "hpsv2", "image-reward", "torch", "torchvision", "transformers")
FULL_PAIRS = 2
"""Number of pairs that are also scored with ImageReward in its published size."""

MED_CONFIG: dict[str, Any] = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 30524,
    "encoder_width": 768,
    "add_cross_attention": True,
}
"""BLIP's, which ImageReward is published with."""

image_reward_module = sys.modules["ImageReward.ImageReward"]
aesthetic_module = sys.modules["ImageReward.models.AestheticScore"]


def main(out: Path) -> None:
    """Write ``recorded.json`` and ``recorded.npz``. The working folder has bert-base-uncased/."""
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    layouts: dict[str, Any] = {}
    scores = {
        "image_reward": image_reward_scores(layouts),
        "image_reward_full": full_image_reward_scores(layouts),
        "hps_v2": hps_scores(layouts),
        "pick_score": pick_scores(),
        **openai_scores(layouts),
    }
    record = {
        "versions": {name: version(name) for name in PACKAGES},
        "scores": scores,
        "tokens": {"bert": bert_tokens(), "clip": clip_tokens()},
    }
    (out / "recorded.json").write_text(dumps(record), "utf-8")
    names_and_shapes = np.frombuffer(json.dumps(layouts).encode(), np.uint8)
    arrays: dict[str, Any] = {"layouts": names_and_shapes, **dict(pixels())}
    np.savez_compressed(out / "recorded.npz", **arrays)


def dumps(record: dict[str, Any]) -> str:
    """Return JSON with a line for each entry of the inner tables."""
    parts = []
    for name, table in record.items():
        rows = ",\n".join(
            f"  {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
            for key, value in table.items()
        )
        parts.append(f" {json.dumps(name)}: {{\n{rows}\n }}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def fill(model: nn.Module) -> Any:
    """Give every parameter the weight that follows from its name."""
    state = model.state_dict()
    for name, value in state.items():
        if value.is_floating_point():
            state[name] = torch.from_numpy(weight(name, tuple(value.shape)))
    model.load_state_dict(state)
    return model.eval()


def layout(model: nn.Module) -> dict[str, list[int]]:
    """Return names and shapes of everything in a checkpoint."""
    return {name: list(value.shape) for name, value in model.state_dict().items()}


def pairs(count: int = len(PROMPTS)) -> Iterator[tuple[str, Image.Image]]:
    """Yield prompts with images."""
    for prompt, image in zip(PROMPTS[:count], images(), strict=False):
        yield prompt, Image.fromarray(image)


def reward(med_config: dict[str, Any]) -> Any:
    """Return the reward of the package."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(med_config, file)
        file.flush()
        return image_reward_module.ImageReward(file.name)


def image_reward_scores(layouts: dict[str, Any]) -> list[float]:
    """Score with the package's ``score`` and classes, in a small size."""
    vision, text = BLIP_SIZES["vision"], BLIP_SIZES["text"]
    small = VisionTransformer(
        img_size=224,
        patch_size=16,
        embed_dim=vision["hidden_size"],
        depth=vision["num_hidden_layers"],
        num_heads=vision["num_attention_heads"],
        drop_path_rate=0.1,
    )
    med_config = {
        **MED_CONFIG,
        **{name: text[name] for name in text if name != "encoder_hidden_size"},
    }
    head = sized(image_reward_module.MLP, text["hidden_size"])
    with (
        patch.object(
            sys.modules["ImageReward.models.BLIP.blip_pretrain"],
            "create_vit",
            lambda *_: (small, vision["hidden_size"]),
        ),
        patch.object(image_reward_module, "MLP", head),
    ):
        model = fill(reward(med_config))
    layouts["image_reward"] = layout(model)
    return [model.score(prompt, image) for prompt, image in pairs()]


def full_image_reward_scores(layouts: dict[str, Any]) -> list[float]:
    """Compute the package's ``score`` in the published size."""
    model = fill(reward(MED_CONFIG))
    layouts["image_reward_full"] = layout(model)
    return [model.score(prompt, image) for prompt, image in pairs(FULL_PAIRS)]


def hps_scores(layouts: dict[str, Any]) -> list[float]:
    """Compute hpsv2's ``score`` on a small model of its classes, in float32."""
    with torch.device("meta"):
        layouts["hps_v2_full"] = layout(
            open_clip.CLIP(
                1024,
                {"layers": 32, "width": 1280, "head_width": 80, "patch_size": 14},
                {"width": 1024, "heads": 16, "layers": 24},
            )
        )
    model = open_clip.CLIP(
        CLIP_TEXT["projection_dim"],
        {
            "layers": CLIP_VISION["num_hidden_layers"],
            "width": CLIP_VISION["hidden_size"],
            "head_width": CLIP_VISION["hidden_size"] // CLIP_VISION["num_attention_heads"],
            "patch_size": CLIP_VISION["patch_size"],
        },
        {
            "width": CLIP_TEXT["hidden_size"],
            "heads": CLIP_TEXT["num_attention_heads"],
            "layers": CLIP_TEXT["num_hidden_layers"],
        },
        output_dict=True,
    )
    fill(model)
    layouts["hps_v2"] = layout(model)
    preprocess = open_clip.image_transform(224, is_train=False)
    found = []
    for prompt, image in pairs():
        outputs = model(preprocess(image).unsqueeze(0), open_clip.tokenize([prompt]))
        found.append(float(outputs["image_features"] @ outputs["text_features"].T))
    return found


def pick_scores() -> list[float]:
    """Compute scores with the code of PickScore's model card."""
    config = CLIPConfig(
        projection_dim=CLIP_TEXT["projection_dim"],
        text_config={**CLIP_TEXT, "hidden_act": "gelu"},
        vision_config={**CLIP_VISION, "hidden_act": "gelu"},
    )
    model = fill(CLIPModel(config))
    with tempfile.TemporaryDirectory() as folder:
        processor = CLIPProcessor(CLIPImageProcessor(), clip_tokenizer(Path(folder)))
    found = []
    for prompt, image in pairs():
        image_inputs = processor(
            images=[image], padding=True, truncation=True, max_length=77, return_tensors="pt"
        )
        text_inputs = processor(
            text=prompt, padding=True, truncation=True, max_length=77, return_tensors="pt"
        )
        image_embs = model.get_image_features(**image_inputs)
        image_embs = image_embs / torch.norm(image_embs, dim=-1, keepdim=True)
        text_embs = model.get_text_features(**text_inputs)
        text_embs = text_embs / torch.norm(text_embs, dim=-1, keepdim=True)
        found.append(float(model.logit_scale.exp() * (text_embs @ image_embs.T)[0]))
    return found


def openai_scores(layouts: dict[str, Any]) -> dict[str, list[float]]:
    """Compute scores with ImageReward's CLIPScore and aesthetic head, on a small OpenAI CLIP."""
    model = clip.model.CLIP(
        CLIP_TEXT["projection_dim"],
        224,
        CLIP_VISION["num_hidden_layers"],
        CLIP_VISION["hidden_size"],
        CLIP_VISION["patch_size"],
        77,
        49408,
        CLIP_TEXT["hidden_size"],
        CLIP_TEXT["num_attention_heads"],
        CLIP_TEXT["num_hidden_layers"],
    )
    fill(model)
    layouts["openai"] = layout(model)
    head = sized(aesthetic_module.MLP, CLIP_TEXT["projection_dim"])
    with (
        patch.object(clip, "load", lambda *_, **__: (model, clip.clip._transform(224))),
        patch.object(aesthetic_module, "MLP", head),
    ):
        cosine, aesthetic = ImageReward.CLIPScore(None), ImageReward.AestheticScore(None)
    fill(aesthetic.mlp)
    return {
        "clip_cosine": [cosine.score(prompt, as_file(image)) for prompt, image in pairs()],
        "aesthetic": [aesthetic.score(prompt, as_file(image)) for prompt, image in pairs()],
    }


def pixels() -> Iterator[tuple[str, np.ndarray]]:
    """Apply each preprocessing to images of several shapes, with side 32."""
    processor = CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    ways: dict[str, Callable[[Image.Image], Tensor]] = {
        "image_reward": image_reward_module._transform(32),
        "hps_v2": open_clip.image_transform(32, is_train=False),
        "pick_score": lambda image: processor(image, return_tensors="pt").pixel_values[0],
        "openai": clip.clip._transform(32),
    }
    for name, way in ways.items():
        for shape in (ODD, LARGE, LARGE[::-1], SQUARE):
            (image,) = images(shape, 1)
            yield f"{name} {shape[0]}x{shape[1]}", way(Image.fromarray(image)).numpy()


def as_file(image: Image.Image) -> io.BytesIO:
    """Return an image as a file, for classes that open one."""
    file = io.BytesIO()
    image.save(file, "png")
    return file


def sized(build: Callable[[int], nn.Module], width: int) -> Callable[[int], nn.Module]:
    """Return a head class that ignores the requested width."""
    return lambda _: build(width)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main(Path(sys.argv[1]))
