"""The residual branch: a Swin transformer over the resized noise. B batch.

Two departures from the published code. It takes the last features, which are (B, 7, 7, 768), for
seven channels of 7 × 768 pixels: rows of the picture become channels, and features columns. Here
each token's features become the pixels that stand where the token stood. And it starts from
weights trained on photographs, which are not at hand here; this one starts at random.
"""

from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle

from pipeline.npnet.config import TwoBranchLayout


class ResidualBranch(nn.Module):
    """Predicts what is added to the noise, (B, C, H, W) to (B, C, H, W)."""

    def __init__(self, layout: TwoBranchLayout) -> None:
        super().__init__()
        # Here and not above: transformers takes seconds, and who only asks for a digest has this
        # module too.
        from transformers import SwinConfig, SwinModel

        channels, height, width = layout.latent_shape
        swin = layout.swin
        self.size = (height, width)
        self.image_size = swin.image_size
        self.pixels_per_token = swin.pixels_per_token
        self.tokens = swin.image_size // swin.patch_size // 2 ** (len(swin.depths) - 1)
        self.to_colours = nn.Conv2d(channels, 3, 1)
        self.swin = SwinModel(
            SwinConfig(
                image_size=swin.image_size,
                patch_size=swin.patch_size,
                window_size=swin.window_size,
                embed_dim=swin.embed_dim,
                depths=list(swin.depths),
                num_heads=list(swin.num_heads),
                # The residual of a noise is to be found, not a class: every path is needed, and
                # nothing is drawn from torch's global generator.
                drop_path_rate=0.0,
            ),
            add_pooling_layer=False,
        )
        features = swin.embed_dim * 2 ** (len(swin.depths) - 1)
        self.to_pixels = nn.Conv2d(features, channels * swin.pixels_per_token**2, 1)

    def forward(self, noise: Tensor) -> Tensor:
        """What the noise lacks."""
        resized = interpolate(noise, (self.image_size, self.image_size), mode="nearest")
        tokens = self.swin(self.to_colours(resized)).last_hidden_state
        features = tokens.transpose(1, 2).reshape(len(noise), -1, self.tokens, self.tokens)
        pixels = pixel_shuffle(self.to_pixels(features), self.pixels_per_token)
        return interpolate(pixels.float(), self.size, mode="bilinear", align_corners=False)
