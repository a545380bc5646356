"""The image archives of the Visual Geometry Group, Oxford, that the original and the revisited datasets share."""

from bench.published import Download

# with faces blurred, the only version that is still handed out; no hash is published
OXFORD = (
    Download("https://www.robots.ox.ac.uk/~vgg/data/oxbuildings/oxbuild_images-v1.tgz", "jpg", True, megabytes=1938),
)
PARIS = (
    Download("https://www.robots.ox.ac.uk/~vgg/data/parisbuildings/paris_1-v1.tgz", "jpg", True),
    Download("https://www.robots.ox.ac.uk/~vgg/data/parisbuildings/paris_2-v1.tgz", "jpg", True),
)
LICENCE = "not stated; photographs from Flickr under its terms"

#: Files of the Paris archives that are no image (parisbuildings/corrupt.txt); no protocol counts them.
CORRUPT_PARIS = frozenset(
    {
        "paris_louvre_000136",
        "paris_louvre_000146",
        "paris_moulinrouge_000422",
        "paris_museedorsay_001059",
        "paris_notredame_000188",
        "paris_pantheon_000284",
        "paris_pantheon_000960",
        "paris_pantheon_000974",
        "paris_pompidou_000195",
        "paris_pompidou_000196",
        "paris_pompidou_000201",
        "paris_pompidou_000467",
        "paris_pompidou_000640",
        "paris_sacrecoeur_000299",
        "paris_sacrecoeur_000330",
        "paris_sacrecoeur_000353",
        "paris_triomphe_000662",
        "paris_triomphe_000833",
        "paris_triomphe_000863",
        "paris_triomphe_000867",
    }
)
