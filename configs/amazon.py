"""Amazon's products, from their titles, brands and categories to Semantic IDs.

python train.py --config=configs/amazon.py:beauty --workdir=runs/beauty
python train.py --config=configs/amazon.py:toys,2018 --config.data.path=FOLDER --workdir=runs/toys

beauty, sports, toys, games or instruments, in the edition of 2014 (which TIGER and its successors report on), 2018 or
2023; users and items with five interactions or more (--config.data.core). FOLDER holds the files of reviews and
metadata; without one they are fetched from their authors.

With --config.data.histories.source=amazon-2014-beauty the IDs also follow who takes what after what.

beauty of 2014, 12,101 products, one seed: every code in use, distinct codes .899 of at most .998, R^2 .780.
"""

from sid_jax.presets import amazon

get_config = amazon
