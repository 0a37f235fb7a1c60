"""One image: is it good, and how is it decoded without danger to the job."""
