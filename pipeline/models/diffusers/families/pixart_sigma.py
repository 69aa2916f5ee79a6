"""PixArt-Σ: one T5 encoder. The network also predicts a variance, which is not used."""

from pipeline.models.diffusers.families.family import Family

PIXART_SIGMA = Family(
    pipeline="PixArtSigmaPipeline",
    encoded=(
        "prompt_embeds",
        "prompt_attention_mask",
        "negative_prompt_embeds",
        "negative_prompt_attention_mask",
    ),
    # With binning, the pipeline would sample at another size than was asked for, and resize the
    # image. The default negative prompt "" is set to None, because the call rejects a text together
    # with embeddings.
    call_options={"use_resolution_binning": False, "negative_prompt": None},
    options=frozenset({"max_sequence_length", "negative_prompt"}),
    text_widths={"caption_channels": (("text_encoder", "hidden_size"),)},
    text_limits={"tokenizer": 300},
)
