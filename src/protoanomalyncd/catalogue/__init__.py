"""What people call the classes, and which of them they hold to be one.

>>> catalogue = Catalogue(["normal", "defect 1", "defect 2"])
>>> catalogue.rename(1, "scratch")
>>> catalogue.names
('normal', 'scratch', 'defect 2')
"""

from protoanomalyncd.catalogue.catalogue import Catalogue

__all__ = ["Catalogue"]
