"""What goes wrong on the way of somebody with images of their own."""

from __future__ import annotations

import mistake_scenes as scenes
from mistake import Mistake

BARE = "dpib synthesize dp-merf --images xrays --epsilon 10 --out release"
FULL = f"{BARE} --classes classes.txt --nominal-size 200 --dry-run --quiet"
ADD = "dpib datasets add xrays --size 8"
own, own_and = scenes.own_images, scenes.own_images_and

MISTAKES = (
    Mistake("no such folder", FULL, 3, "No images at xrays"),
    Mistake("the number of images left unsaid", f"{BARE} --classes classes.txt", 2, "--nominal-size", own),
    Mistake("said twice", f"{FULL} --count-is-public", 2, "one of --nominal-size and --count-is-public", own),
    Mistake("the classes left unsaid", f"{BARE} --nominal-size 200", 2, "--classes FILE", own),
    Mistake(
        "images that lie in no class folder", FULL, 3, "Move it into its class's folder", own_and(scenes.loose_images)
    ),
    Mistake(
        "a folder that the list of classes lacks",
        FULL,
        3,
        "'unclear' is not a listed class",
        own_and(scenes.third_class),
    ),
    Mistake("a spreadsheet among the images", FULL, 3, "patients.csv", own_and(scenes.table_inside)),
    Mistake("an image that was cut off", FULL, 3, "0.png: cannot be decoded", own_and(scenes.damaged)),
    Mistake("16 bits and no window", FULL, 3, "--window", own_and(scenes.deep)),
    Mistake("transparent pixels", FULL, 3, "transparent", own_and(scenes.transparent)),
    Mistake("a window of one number", f"{FULL} --window 4095", 2, "LOW:HIGH", own),
    Mistake("a window upside down", f"{FULL} --window 4095:0", 2, "LOW below HIGH", own),
    Mistake("a format that releases lack", f"{FULL} --format jpg", 2, "png or parquet", own),
    Mistake("a release inside the images", f"{FULL} --out xrays/release", 2, "must not lie in one another", own),
    Mistake(
        "a folder with something else in it",
        FULL.replace(" --dry-run", ""),
        2,
        "release",
        own_and(scenes.other_release),
    ),
    Mistake(
        "the private report inside the release",
        f"{FULL} --private-report release/report.json",
        2,
        "must not lie in",
        own,
    ),
    Mistake("a reference instead of a method", FULL.replace("dp-merf", "real"), 2, "must not be released", own),
    Mistake("no images of one person", f"{FULL} --images-per-person 0", 2, "images_per_person", own),
    Mistake("no images to make", f"{FULL} --n-images 0", 2, "n_images", own),
    Mistake("own images as a dataset, their number unsaid", ADD, 2, "--count-is-public", own),
    Mistake(
        "shares that are not whole", f"{ADD} --count-is-public --shares 80,10", 2, "Expected --shares 80,10,10", own
    ),
    Mistake("the name of a dataset of dpib", f"{ADD} --count-is-public --name mnist", 2, "another --name", own),
)
