from nightcrew.runtime.library import Action as Action
from nightcrew.runtime.library import Decision as Decision
from nightcrew.runtime.library import Gate as Gate
from nightcrew.runtime.library import Journal as Journal
from nightcrew.runtime.library import Policy as Policy
from nightcrew.runtime.library import Runtime as Runtime

__version__: str
