"""Views of recorded data, `DATASET@VIEW`: other rewards, spoilt or limited observations.

A view is part of a dataset's identity and is made on the fly: nothing is copied. `grammar` says
what can stand behind the @, torch-free; `changes` computes it; `playing` applies the views that
limit what agents see while a team is evaluated. May import `datasets.perturb` and what lies below
it. Start with `grammar`.
"""
