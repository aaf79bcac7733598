"""artifactstore: code, data and models in one immutable, content-addressed store on any fsspec backend."""

__version__ = "0.1.0"
