"""Training with torchvision: Faster R-CNN and RetinaNet, without AGPL code."""
