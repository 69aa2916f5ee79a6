"""FLUX.1: packed latents; dev is told its guidance, schnell is sampled without.

With ``guidance = "classifier_free"`` the network is called with and without the prompt ("true
CFG"), and dev is told the ``embedded_guidance`` of the configuration all the while.
"""

from pipeline.models.families.family import Family

FLUX = Family(
    pipeline="FluxPipeline",
    # The third are position ids of the text, which the call makes for itself.
    encoded=("prompt_embeds", "pooled_prompt_embeds", None),
    encode_options={"prompt_2": None},
    options=frozenset({"embedded_guidance", "max_sequence_length", "negative_prompt"}),
    guidance_option="true_cfg_scale",
    text_widths={
        "joint_attention_dim": (("text_encoder_2", "hidden_size"),),
        "pooled_projection_dim": (("text_encoder", "hidden_size"),),
    },
    text_limits={"tokenizer_2": 512},
)
