"""The detectors of the family, and what each is fed; whoever adds a detector adds a case.

A case names the River view and makes it and its readings. ``row`` returns the view's state as an array, which the laws copy
and put back; a detector that keeps plain attributes gives none.
"""

from __future__ import annotations
