"""The exported model in other formats: LiteRT and ONNX."""
