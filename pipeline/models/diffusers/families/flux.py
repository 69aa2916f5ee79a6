"""FLUX.1, a flow with packed latents. The dev model receives its guidance scale, schnell has none.

With ``guidance = "classifier_free"`` the network is evaluated with and without the prompt ("true
CFG"), and dev always receives the ``embedded_guidance`` of the configuration.
"""

from pipeline.models.diffusers.families.family import Family

FLUX = Family(
    pipeline="FluxPipeline",
    # The third result is position ids of the text. The call computes them itself.
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
