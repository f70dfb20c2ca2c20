"""Fine-tuning and its use: labelled sequences make a classifier of a pretrained model, beside its rivals.

task (what the labels mean) → examples (rows, split, duplicates) → windows (token rows) → classifier (the model) →
model_training → scores, verdict (metrics, intervals, rivals) → predict; finetune holds the order of things.
"""
