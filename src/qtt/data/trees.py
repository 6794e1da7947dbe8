"""The layouts of images that are understood, as error messages show them."""

TREES = """Understood below {root} are
  train/<class>/*.jpg     and, where you have them,
  val/<class>/*.jpg       (or valid, validation; otherwise a share of train validates)
  test/<class>/*.jpg      (or testing)
or
  <class>/*.jpg           a share of every class validates
or
  labels.csv              or .tsv, .parquet: a row per image with its file and its label, also its split and
                          group where you have them; the images may lie elsewhere: dataset.images=DIR
or what save_to_disk of a Hugging Face dataset wrote, or one folder that holds one of these.
There must be at least two classes."""
