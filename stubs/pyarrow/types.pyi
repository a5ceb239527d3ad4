# The part of pyarrow.types that we use.
from pyarrow import DataType

def is_dictionary(t: DataType) -> bool: ...
