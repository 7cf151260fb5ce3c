"""The example configuration of the training guide (README_TRAINING)."""

GUIDE = """
model:
  structure_encoder:
    use_esmfold: true    # 是否使用ESMFold
data:
  train_path: "data/train.csv"
  val_path: "data/val.csv"
  use_predicted_structures: true
  batch_size: 8
  num_workers: 4
training:
  num_epochs: 100
  batch_size: 8
  gradient_accumulation_steps: 4
  max_grad_norm: 1.0
  validate_every: 5
  optimizer:
    name: "adamw"
    lr: 1e-4
    weight_decay: 0.01
  scheduler:
    name: "cosine"
    min_lr: 1e-6
diffusion:
  num_timesteps: 1000
"""
