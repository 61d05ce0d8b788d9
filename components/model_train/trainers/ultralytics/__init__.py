"""Training with ultralytics: every YOLO family and RT-DETR."""
