"""What is used of the generated messages, with types: protobuf has none of its own."""

from collections.abc import Iterable, Mapping
from typing import Self

class _Message:
    def SerializeToString(self) -> bytes: ...
    @classmethod
    def FromString(cls, raw: bytes) -> Self: ...

class ScaledObjectRef(_Message):
    name: str
    namespace: str
    scalerMetadata: Mapping[str, str]
    def __init__(self, name: str = ..., namespace: str = ..., scalerMetadata: Mapping[str, str] = ...) -> None: ...

class IsActiveResponse(_Message):
    result: bool
    def __init__(self, result: bool = ...) -> None: ...

class MetricSpec(_Message):
    metricName: str
    targetSize: int
    targetSizeFloat: float
    def __init__(self, metricName: str = ..., targetSize: int = ..., targetSizeFloat: float = ...) -> None: ...

class GetMetricSpecResponse(_Message):
    metricSpecs: list[MetricSpec]
    def __init__(self, metricSpecs: Iterable[MetricSpec] = ...) -> None: ...

class GetMetricsRequest(_Message):
    scaledObjectRef: ScaledObjectRef
    metricName: str
    def __init__(self, scaledObjectRef: ScaledObjectRef = ..., metricName: str = ...) -> None: ...

class MetricValue(_Message):
    metricName: str
    metricValue: int
    metricValueFloat: float
    def __init__(self, metricName: str = ..., metricValue: int = ..., metricValueFloat: float = ...) -> None: ...

class GetMetricsResponse(_Message):
    metricValues: list[MetricValue]
    def __init__(self, metricValues: Iterable[MetricValue] = ...) -> None: ...
