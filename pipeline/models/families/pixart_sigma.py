"""PixArt-Σ: one T5 encoder; the network predicts a variance too, which is left out."""

from pipeline.models.families.family import Family

PIXART_SIGMA = Family(
    pipeline="PixArtSigmaPipeline",
    encoded=(
        "prompt_embeds",
        "prompt_attention_mask",
        "negative_prompt_embeds",
        "negative_prompt_attention_mask",
    ),
    # Binning would sample at another size than asked for, and resize the image. The default of the
    # negative prompt is "", which the call refuses beside embeddings.
    call_options={"use_resolution_binning": False, "negative_prompt": None},
    options=frozenset({"max_sequence_length", "negative_prompt"}),
    text_widths={"caption_channels": (("text_encoder", "hidden_size"),)},
    text_limits={"tokenizer": 300},
)
