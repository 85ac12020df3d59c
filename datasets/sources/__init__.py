"""Where recorded data of others come from: folders, archives, the Hugging Face Hub, known names.

Whatever makes published files readable before their layout matters belongs here, with the table of
known sources (`public.toml`). May import paths and errors of `datasets`. Start with `opening`.
"""
