"""What the engine runs on; everything above knows only the interface, `engine.backend`.

    cpu.py                               ONNX Runtime: rows side by side on threads
    openvino.py                          OpenVINO on the CPU, in bfloat16 where the CPU has it
    cuda.py, binding.py                  ONNX Runtime on an NVIDIA GPU: fixed buffers, CUDA graphs
    tensorrt.py, tensorrt_profiles.py    engines built ahead; `nvidia.py` says what the GPU is

and what several of them share:

    onnx_runtime.py, runtime_errors.py   sessions opened one way, errors told apart
    prepared.py, prepacked.py            what is made once for a runtime and a machine, and kept
    buckets.py                           few shapes for many batches
"""
